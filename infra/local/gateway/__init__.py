"""The gateway's Chalice app behind a local TLS server, through an AWS-shaped round trip."""
