"""A backup of everything that was accepted, taken while the parts work: queue, store, images, in this order.

The order is what makes the three copies one. A pair moves from the queue to the store and never back, so a pair that
moves between the two copies is in both, and is done once more under the same id, which the store takes once. Images
are never deleted, so a copy of them that is begun last holds every image of the other two. The other way round a pair
could be in neither copy.
"""
