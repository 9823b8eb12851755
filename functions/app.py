"""The Chalice app that Lambda runs. Importing it needs no setting and makes no client (see `runtime`)."""

from typing import Any

from chalice import Rate
from chalicelib.journey import log_to_stderr
from chalicelib.library_logs import log_libraries
from chalicelib.routes import create_app
from chalicelib.runtime import GatewayHolder

log_libraries(log_to_stderr)
_holder = GatewayHolder()
app = create_app(_holder.gateway)


# As often as EventBridge can: what a dead function has signed may be submitted for 24 s only.
@app.schedule(Rate(1, unit=Rate.MINUTES))  # type: ignore[untyped-decorator] # Chalice carries no types
def sweep(event: Any) -> None:
    """Go on with what functions that died have left. Raises what keeps the run from reading the records."""
    _holder.gateway().sweep()


@app.schedule(Rate(5, unit=Rate.MINUTES))  # type: ignore[untyped-decorator] # Chalice carries no types
def reclaim(event: Any) -> None:
    """Take finished requests off the chain. Raises what hinders it: the next run looks there again."""
    _holder.gateway().reclaim()


@app.schedule(Rate(5, unit=Rate.MINUTES))  # type: ignore[untyped-decorator] # Chalice carries no types
def watch_gas(event: Any) -> None:
    """Report the balance that an alarm watches. Raises what hinders it: no report raises the alarm too."""
    _holder.gateway().report_balance(event.context.function_name)
