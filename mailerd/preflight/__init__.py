"""
The look at a whole batch before its first mail: everybody is looked up and rendered, nobody is sent anything.

``examine.py`` goes through the batch; what it asks is pure: ``mails.py`` of each mail, ``links.py`` of each
link, ``sender.py`` of template and sender, ``forecast.py`` of the time that it will take. Reads the contacts
and the template as the workers do; writes nothing and knows no Redis. ``apart.py`` has it done by a process
of its own. Called by ``mailerd preflight``, and for ``POST /queue?dry_run=1`` by way of ``wiring.py``.
"""
