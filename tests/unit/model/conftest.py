# SPDX-License-Identifier: Apache-2.0
"""neutron-lib is imported once, here: its dependencies warn of what only they can mend, and warnings fail our tests."""

import importlib
import pkgutil
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import neutron_lib.api.definitions as definitions

    for info in pkgutil.iter_modules(definitions.__path__):
        importlib.import_module(f"{definitions.__name__}.{info.name}")
