"""Write the results that the pages open on, from a real run on this machine: make record.

python -m recording
"""

from recording import data_efficiency, efficient_architectures, hardware_codesign, model_optimization

if __name__ == "__main__":
    for one in (model_optimization, efficient_architectures, hardware_codesign, data_efficiency):
        print(one.__name__, flush=True)
        one.record()
