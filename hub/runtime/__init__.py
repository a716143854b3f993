"""Running the hub on one machine: its own PostgreSQL and Redis, one supervisor, one log, and a doctor.

Nothing in here is needed when `DATABASE_URL` and `REDIS_URL` are given and another supervisor (systemd, Kubernetes)
runs the processes; `deploy/` says which ones.
"""
