"""Which buckets a set has, where each picture is cut, and what must stay in it."""
