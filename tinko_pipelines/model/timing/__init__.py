"""Timing: will a retry at time t succeed, judged by what was known before t. Whether it may be made is not known here."""
