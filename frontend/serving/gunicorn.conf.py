"""gunicorn as in the image; `make run` and the benchmark use the same file."""

import os

bind = f"{os.environ.get('HOST', '0.0.0.0')}:{os.environ.get('PORT', '8080')}"  # noqa: S104 - in a container
# One a core: each holds and renews a snapshot of its own, and clients that keep their connections
# load two of them unevenly. A task of infra/templates/frontend.yaml has half a core; more load,
# more tasks.
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))
worker_class = "frontend.serving.worker.Worker"
threads = 16  # they wait for DynamoDB only
worker_connections = 800  # a worker; of the client that has most, one makes room for the next
limit_request_line = limit_request_field_size = 8190
forwarded_allow_ips = ""  # no peer may set SCRIPT_NAME or the scheme; see serving/clients.py
sendfile = False  # it would wait for the client
keepalive = 75  # longer than the load balancer's idle timeout of 60 s
timeout = 30
graceful_timeout = 10
max_requests = 0
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108, PTH112 - heartbeat file
control_socket_disable = True
