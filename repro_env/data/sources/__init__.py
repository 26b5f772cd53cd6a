"""Where data comes from: one small file a kind of source, each behind the protocol in `base`."""
