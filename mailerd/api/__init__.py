"""
The door: enqueue over HTTP and look at batches. Falcon's resources, and waitress to carry them.

It sees the queue through the ports of ``ports.py`` and knows no Redis and no processes.
"""
