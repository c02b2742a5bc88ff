"""Code that runs inside vLLM's own process. Only this directory is on its import path, and it needs no other
package.
"""
