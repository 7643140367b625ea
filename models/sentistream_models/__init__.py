"""Makes, measures and describes the default SentiFormer bundle (the format is in docs/bundle.md).

`python -m sentistream_models default` remakes the bundle, `goldens` the fixtures that other implementations are held
against, `evaluate` the scores that the model card tells.
"""
