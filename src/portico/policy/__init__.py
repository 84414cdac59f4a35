# SPDX-License-Identifier: Apache-2.0
"""Who may do what: rules in oslo.policy's language, Neutron's own as the default.

A rule is reduced by what is known of who asks to a condition on the object alone; the condition is then asked of one
row, or put as SQL before a list is read. Both ways are proved equal by a test.
"""
