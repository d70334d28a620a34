"""Examples of optional rooms are tested where their libraries are installed."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("dask") and find_spec("distributed") else ["src/bitquant/dask.py"]
