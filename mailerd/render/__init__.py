"""
Templates: read from their folder, kept with the batch, prepared once, rendered per contact.

``source.py`` is the template as files and as bytes, ``template.py`` the compiled one; ``markup.py`` finds its
way through HTML with Jinja tags in it, on which ``css.py`` and ``plaintext.py`` rest; ``variables.py`` tells
what a template asks for. Knows no contact, no Redis and no transport. Called by ``delivery``, ``preflight``
and ``mailerd check``.
"""

from mailerd.render.source import TemplateFolder, TemplateSource
from mailerd.render.template import Template
from mailerd.render.variables import variables_of_texts

__all__ = ["Template", "TemplateFolder", "TemplateSource", "variables_of_texts"]
