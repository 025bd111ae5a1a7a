import pytest
import torch


@pytest.fixture(scope="module")
def one_thread():
    """On a machine that others use too, threads that wait for one another make small tensors ten times slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
