"""HTTP: requests read, routed, answered and recorded; the emulator's own pages; TLS for who insists on it."""
