"""Software half: prune, quantise, reference integers, artefact. Importing it loads no torch."""
