# SPDX-License-Identifier: Apache-2.0
"""Who asks: nobody in particular (`none`), a user of an htpasswd file (`http_basic`), or of a Keystone (`keystone`)."""
