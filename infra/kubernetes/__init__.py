"""What the product needs in a Kubernetes cluster."""
