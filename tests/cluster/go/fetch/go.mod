module kubeqpu.io/tests/cluster/fetch

go 1.26.0
