"""Images without a container engine: what their Dockerfiles declare, run in a file system that holds only that.

A Dockerfile is read for what it declares (environment, user, volumes, entry point, health check); its folder /app is
made of hard links to the installed distributions of its requirements file, and of the package as a wheel of the build
context holds it; a process of it runs in a mount namespace of its own, where everything but its volumes is read-only.
Linux, root and an environment with all of requirements.lock are needed.
"""
