"""What an emulator keeps over restarts."""
