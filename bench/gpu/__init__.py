"""A few minutes on a GPU: what there is to learn about fastrnn's CUDA kernels, in one command.

    python -m bench gpu --output FOLDER [--only STEPS] [--wheels FOLDER]
    python -m bench gpu --report FOLDER [--publish]

The steps run one after the other, what would be missed most first. Each is a process of its own with a time limit, and
its rows are in FOLDER/results.jsonl as soon as they are known: whenever it is cut off, only the row in work is lost.

===============  ======================================================================================================
`runner`         the command: starts the steps, ends those that take too long, notes how each ended
`results`        the file of rows
`step`           the process of one step
`environment`    steps `machine` and `compile`: what is there; kernels compiled in parallel processes
`checks`         steps `correct`, `sanitizer` and `pytest`
`speed`          steps `launches`, `training` and `decoding`
`workloads`      what is trained, real and tiny: in Numba's simulator the same steps run, with tiny sizes
`report`         the summary, and the section in RESULTS.md
===============  ======================================================================================================

Wheels for a machine without a network, which has Python, NumPy, Numba, a CUDA toolkit with NVVM and NVRTC (CUDA_HOME or
/usr/local/cuda; NVRTC comes with PyTorch too) and perhaps PyTorch, pytest and Hypothesis. For Python 3.12, 20 MB:

    python -m pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp --platform \
        manylinux_2_28_x86_64 --platform manylinux_2_24_x86_64 --platform manylinux2014_x86_64 --dest FOLDER \
        numba-cuda cuda-core cuda-bindings cuda-pathfinder nltk regex click joblib defusedxml tqdm

For a driver of CUDA 12 write `"cuda-bindings<13"`. For a machine without Numba add `numba` and `llvmlite`, 64 MB.
"""
