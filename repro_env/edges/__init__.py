"""The only places that spawn processes, connect to hosts, or write files. The other rooms are handed these."""
