"""The same model without its least important parts."""
