"""`curate explore`: a build looked at in a browser: read-only, on this machine alone.

`tables` asks DuckDB, `app` answers requests, `static/` is the page; nothing comes from the network.
"""
