"""The shared language: what a job, a candidate and a preference pair are, where they wait and where they rest.

The rooms of the house meet only here: in the models (`pairs.model`), on the queue (`pairs.queue`), in the store
(`pairs.store`), among the images (`pairs.blobs`) and adapters (`pairs.adapters`), under one set of settings
(`pairs.settings`) and one hierarchy of errors (`pairs.errors`). This room imports none of the others, and knows neither
HTTP nor a model.
"""
