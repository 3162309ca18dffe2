"""The pages for people: what needs attention, then each pipeline with its versions, batches, decisions and alerts.

addresses   where each page is; anything may link to it
"""
