"""Reading Move bytecode: binary tables, types and interfaces. No execution, no framework, no compiler."""
