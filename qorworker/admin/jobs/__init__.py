"""The pages about jobs: catalogue, run form, list, detail, verbs, downloads. Web."""
