"""What people see of a running emulator."""
