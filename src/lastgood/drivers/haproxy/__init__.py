"""Traffic through HAProxy: generations in server slots of one backend, moved over the runtime API."""
