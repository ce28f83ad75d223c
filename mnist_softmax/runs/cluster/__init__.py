"""Who computes beyond this machine? The workers of a Dask cluster, to the same bits or not at all.

`connection` speaks with the scheduler, `crew` knows which workers may be used and hands out the work, and
`worker` is what runs there. `passes` are those of L-BFGS, `groups` those of a sweep.
"""
