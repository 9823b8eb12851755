"""``MovePackageService``: what published packages declare."""

from __future__ import annotations

from typing import Any

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2

from ..bytecode.interface import ModuleInterface, read_interface
from ..execution import PackageInterface
from ..ledger.datatypes import Datatypes
from ..ledger.digests import hex_address
from .endpoint import Method
from .ledger_service import address_field
from .packages import datatype_message, function_message, package_message
from .view import NodeView


class PackageService:
    def __init__(self, view: NodeView) -> None:
        self._view = view

    @property
    def _types(self) -> Datatypes:
        return self._view.ledger.datatypes

    def methods(self) -> list[Method]:
        return [
            Method("MovePackageService/GetPackage", self.get_package),
            Method("MovePackageService/GetDatatype", self.get_datatype),
            Method("MovePackageService/GetFunction", self.get_function),
            Method("MovePackageService/ListPackageVersions", self.list_versions),
        ]

    async def get_package(self, request: Any) -> Any:
        return v2.GetPackageResponse(package=package_message(self._types, self._package(request), {}))

    async def get_datatype(self, request: Any) -> Any:
        package, module = self._module(request)
        datatype = module.datatypes.get(request.name or "")
        if datatype is None:
            raise GRPCError(Status.NOT_FOUND, f"module {module.name} has no datatype {request.name}")
        return v2.GetDatatypeResponse(datatype=datatype_message(self._types, package, module, datatype))

    async def get_function(self, request: Any) -> Any:
        package, module = self._module(request)
        function = module.functions.get(request.name or "")
        if function is None:
            raise GRPCError(Status.NOT_FOUND, f"module {module.name} has no function {request.name}")
        linkage = self._types.linkage(package.id)
        return v2.GetFunctionResponse(function=function_message(linkage, function))

    async def list_versions(self, request: Any) -> Any:
        """All at once: pages are not simulated."""
        runtime_id = self._package(request).runtime_id
        versions = {
            one.version: v2.PackageVersion(package_id=hex_address(one.id), version=one.version)
            for one in self._view.packages()
            if one.runtime_id == runtime_id
        }
        return v2.ListPackageVersionsResponse(versions=[versions[number] for number in sorted(versions)])

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
