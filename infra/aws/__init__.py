"""What the gateway needs in AWS: the template's resources, its rights, and how its zip is made."""
