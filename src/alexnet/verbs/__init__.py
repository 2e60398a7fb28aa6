"""The verbs of the command line, in groups along the pipeline; each imports what it needs when it is called."""
