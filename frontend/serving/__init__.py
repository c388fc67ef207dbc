"""How the site is served: gunicorn's configuration and worker, limits, the cache of answers.

Knows no other room of the front end: what it wraps is a WSGI application.
"""
