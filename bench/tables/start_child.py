"""The process that table `start` measures: `python -m bench.tables.start_child TASK` trains a step and prints times."""

import json
import sys
import time

ELSEWHERE = "outside kernels: the cache, the second process"


def main():
    entered = time.time()
    task = json.loads(sys.argv[1])
    from fastrnn import FastRNN

    imported = time.time()
    x = [[(7 * i + t) % 8000 for t in range(10 + i % 20)] for i in range(32)]
    model = FastRNN(task["cell"], 100, 8000, max_epochs=1, random_state=0, n_threads=task["threads"])
    kernels = listen() if task["kernels"] else {}
    start = time.time()
    model.fit(x, x)
    now = time.time()
    times = {"python": entered - task["start"], "imports": imported - entered, "fit": now - start}
    ordered = sorted(kernels.items(), key=lambda item: -item[1])
    print(json.dumps(times | {"trained": now - task["start"], "kernels": ordered}))


def listen():
    """{kernel: seconds of compiling it, those inside it not counted}, which fills as kernels are compiled."""
    import threading

    from numba.core import event

    seconds, stacks = {}, threading.local()

    class Compilations(event.Listener):
        """Keeps a stack of what is being compiled, for each thread."""

        def on_start(self, happened):
            stack = stacks.__dict__.setdefault("stack", [])
            if happened.kind == "numba:compile":
                function = happened.data["dispatcher"].py_func
                name = f"{function.__module__.removeprefix('fastrnn.')}.{function.__name__}"
            else:  # the compiler's lock: whoever holds it is at work
                name = stack[-1][0] if stack else ELSEWHERE
            stack.append([name, time.perf_counter(), 0.0])

        def on_end(self, happened):
            name, start, inside = stacks.stack.pop()
            passed = time.perf_counter() - start
            seconds[name] = seconds.get(name, 0.0) + passed - inside
            if stacks.stack:
                stacks.stack[-1][2] += passed

    listener = Compilations()
    for kind in ("numba:compile", "numba:compiler_lock"):
        event.register(kind, listener)
    return seconds


if __name__ == "__main__":
    main()
