"""Files under RAW and their pixels: every file a row, one decode, one cut and resize."""
