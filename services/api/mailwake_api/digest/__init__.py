"""The daily digest: a mail a day to each user who wants one, about what was opened and clicked."""
