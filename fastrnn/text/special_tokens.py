"""The tokens that every vocabulary has, and their indices; that of UNKNOWN_TOKEN is the last one."""

SENTENCE_START = "SENTENCE_START"
SENTENCE_END = "SENTENCE_END"
UNKNOWN_TOKEN = "UNKNOWN_TOKEN"
SPECIAL = (SENTENCE_START, SENTENCE_END, UNKNOWN_TOKEN)

START, END = 0, 1  # the indices of SENTENCE_START and SENTENCE_END
