"""Losses of other packages, held to the contract.

One module for each package, found by its being there: ``IMPLEMENTATIONS`` says what the
package itself documents, functions ``load...`` adapt its call.  Nothing of a package is
imported before an implementation is loaded; where it is absent, it is "not installed".
"""
