"""A model behind HTTP (extra `web`): an interface for programs, and a page for people.

Uploads are read (uploads.py) after what need not be read is refused (gate.py), decoded, and wait together to be
computed together (batching.py) by the model (answers.py). application.py has the addresses, page.py the page,
server.py the process.
"""
