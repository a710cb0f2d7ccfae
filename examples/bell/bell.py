"""Samples a Bell pair on a QPU of a gateway."""

from qiskit import QuantumCircuit

from kubeqpu.client.qiskit import GatewaySampler

bell = QuantumCircuit(2)
bell.h(0)
bell.cx(0, 1)
bell.measure_all()

result = GatewaySampler(qpu="manila").run([bell], shots=4000).result()
print(result[0].data.meas.get_counts())
