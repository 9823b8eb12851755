"""The Chalice app that Lambda runs. Importing it needs no setting and makes no client (see `runtime`)."""

from chalicelib.routes import create_app
from chalicelib.runtime import GatewayHolder

app = create_app(GatewayHolder().gateway)
