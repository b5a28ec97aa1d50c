"""What operator, worker and clients agree on: Redis keys, messages, jobs and the scripts that change them.

Needs redis and pydantic only. Nothing here imports rq, kopf or kubernetes.
"""
