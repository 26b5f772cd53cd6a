"""One run as one page: nothing in it is fetched, nothing in it runs."""
