"""The parser of the command `fastrnn`: errors in one line, and messages of the library in terms of options."""

import argparse
import re

ERROR = 2  # exit status after a usage error

_QUOTES = "'\""


class Parser(argparse.ArgumentParser):
    """Errors are one line; `--help` has the defaults and choices that the classes have."""

    defaults = staticmethod(dict)  # returns {name of a parameter: (default, choices)}

    def error(self, message):
        self.exit(ERROR, f"fastrnn: error: {message}; see {self.prog} --help\n")

    def format_help(self):
        defaults = self.defaults()
        for action in self._actions:
            default, choices = defaults.pop(action.dest, (None, ()))
            if choices:
                action.help += f": {', '.join(choices)}"
            if default is not None and action.nargs != 0:
                action.help += f" (default: {default})"
        return super().format_help()


def in_options(message, parser):
    """An error or log line of the library in the words of the command line: parameters become their options.

    Parameters
    ----------
    message : str
    parser : Parser
        That of the command.
    """
    actions = {action.dest: action for action in parser._actions}
    names = {dest: (action.option_strings or [action.metavar])[-1] for dest, action in actions.items()}
    if "input" in names:
        names["path"] = names["input"]

    def with_value(match):
        name, value = match[1], match[2]
        if name not in actions:
            return match[0]
        return names[name] if actions[name].nargs == 0 else f"{names[name]} {value.strip(_QUOTES)}"

    message = re.sub(r"""(?<![\w./-])(\w+)=("[^"]*"|'[^']*'|[\w.+-]*\w)""", with_value, message)
    message = re.sub(r"^(\w+)(?=: )", lambda match: names.get(match[1], match[1]), message)
    # Elsewhere a word may be only a word, but for those that none uses in prose; nor is a part of a path replaced.
    return re.sub(
        r"""(?<![\w./\\'"-])(\w+_\w+)(?![\w/\\'"-]|\.\w)""", lambda match: names.get(match[1], match[1]), message
    )
