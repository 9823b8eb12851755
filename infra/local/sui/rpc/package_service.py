"""``MovePackageService``: what published packages declare."""

from __future__ import annotations

from typing import Any

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from ..bytecode.interface import ModuleInterface, read_interface
from ..execution import PackageInterface
from .endpoint import Method
from .ledger_service import address_field
from .packages import datatype_message, function_message, package_message
from .view import NodeView


class PackageService:
    def __init__(self, view: NodeView) -> None:
        self._view = view

    def methods(self) -> list[Method]:
        return [
            Method("MovePackageService/GetPackage", self.get_package),
            Method("MovePackageService/GetDatatype", self.get_datatype),
            Method("MovePackageService/GetFunction", self.get_function),
            Method("MovePackageService/ListPackageVersions", self.list_versions),
        ]

    async def get_package(self, request: Any) -> Any:
        return v2.GetPackageResponse(package=package_message(self._package(request), {}))

    async def get_datatype(self, request: Any) -> Any:
        package, module = self._module(request)
        datatype = module.datatypes.get(request.name or "")
        if datatype is None:
            raise GRPCError(Status.NOT_FOUND, f"module {module.name} has no datatype {request.name}")
        return v2.GetDatatypeResponse(datatype=datatype_message(package.id, module, datatype))

    async def get_function(self, request: Any) -> Any:
        package, module = self._module(request)
        function = module.functions.get(request.name or "")
        if function is None:
            raise GRPCError(Status.NOT_FOUND, f"module {module.name} has no function {request.name}")
        return v2.GetFunctionResponse(function=function_message(package.id, function))

    async def list_versions(self, request: Any) -> Any:
        self._package(request)
        return v2.ListPackageVersionsResponse(
            versions=[v2.PackageVersion(package_id=request.package_id, version=1)]
        )

    def _package(self, request: Any) -> PackageInterface:
        stored = self._view.object(address_field(request.package_id, "package_id"))
        if stored is None or stored.package is None:
            raise GRPCError(Status.NOT_FOUND, f"Package {request.package_id} not found")
        return stored.package

    def _module(self, request: Any) -> tuple[PackageInterface, ModuleInterface]:
        package = self._package(request)
        code = package.modules.get(request.module_name or "")
        if code is None:
            raise GRPCError(
                Status.NOT_FOUND, f"package {request.package_id} has no module {request.module_name}"
            )
        return package, read_interface(code)
