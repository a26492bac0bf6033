from stylization.cli import main

main()
