"""Files of a build: schemas, whole writes, the ledger of what is done, reading a finished build."""
